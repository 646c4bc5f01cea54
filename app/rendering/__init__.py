"""Rendering of templates that anybody may have written: limited processes, and a short way for what is proven to be cheap."""

from app.rendering.renderer import Checked, Renderer, RenderInterrupted

__all__ = ["Checked", "RenderInterrupted", "Renderer"]
