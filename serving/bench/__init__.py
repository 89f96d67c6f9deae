"""What serving costs on a machine: the ensemble and its parts, networks, layouts, offered load."""
