"""Answers as DICOM objects, and the gateway that brings them to a PACS."""
