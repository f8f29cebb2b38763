"""nucleate's services as processes of this machine: started, watched over and stopped without a cluster."""
