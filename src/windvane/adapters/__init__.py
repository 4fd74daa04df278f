"""Models of other libraries, brought to Windvane's contracts. Those libraries are imported on first use."""
