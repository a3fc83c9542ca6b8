"""The gateway's own log: its areas, and how levels and format follow the configuration and what people change live."""
