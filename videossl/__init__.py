"""Learn visual representations without labels: from video, from robot interaction, from images."""
