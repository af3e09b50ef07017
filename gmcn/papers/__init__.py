"""What belongs to one paper alone: its figures and its special measurements, a package per paper."""
