"""Run bundles: trials packed into one file, to be scored and run again on another machine."""
