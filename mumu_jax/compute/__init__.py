"""The compiled step: a network, its inputs, its optimizer and the devices it runs on."""
