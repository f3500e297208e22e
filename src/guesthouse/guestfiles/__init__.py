"""What runs inside guests: it is copied into images, imports nothing of the product and is imported by none of it."""
