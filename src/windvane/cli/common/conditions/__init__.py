"""What a model is asked for: ids, boxes and masks, by number, from files, from pictures."""
