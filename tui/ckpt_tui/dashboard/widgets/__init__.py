"""Parts of the dashboard's screens: each draws itself and knows no feed."""
