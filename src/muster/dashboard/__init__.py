"""What the company looks like today: figures and pictures read across the other slices."""
