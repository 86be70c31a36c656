"""VAE-CF: variational and denoising autoencoders with a multinomial likelihood."""
