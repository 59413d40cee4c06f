"""Bands of audits, made from honest ones (`calibrate_audits`)."""
