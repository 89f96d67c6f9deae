"""Names of the DICOM files of one answer."""

SEGMENTATION_FILE = "tumor_mask.dcm"
REPORT_FILE = "report.dcm"
SLICES = 5
"""Most slices that are captured."""
CAPTURE_FILES = tuple(f"slice_{number}.dcm" for number in range(1, 1 + SLICES))

DICOM_FILES = (SEGMENTATION_FILE, REPORT_FILE, *CAPTURE_FILES)
"""In the order in which they are made, and sent: what is referred to goes first."""
