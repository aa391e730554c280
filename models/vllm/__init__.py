"""Language models and encoders on vLLM's asynchronous engine.

``import vllm`` always means the library; this package is ``streamlabel.models.vllm``.
Imports llm and the packages that llm imports.
"""
