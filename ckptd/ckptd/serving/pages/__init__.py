"""The pages of the API by what they are about; each module has their functions and says under which paths they are."""
