"""Many sites as columns: state, totals, flexibility, settlement."""
