"""What world models of the tests share that make a latent of every frame."""


class FrameByFrame:
    """The part of ``WorldModel``'s interface that follows from a stride of 1."""

    stride = 1

    def frames_of(self, latents):
        return latents

    def decode_after(self, params, past, latents):
        return self.decode(params, latents)
