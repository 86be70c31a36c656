"""Ground floor: what every stage shares, and the ETL."""
