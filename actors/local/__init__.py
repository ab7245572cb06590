"""A private Ray on this machine: started, recorded and ended without touching any other."""
