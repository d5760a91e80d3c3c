"""What others read of a shipped file: CycloneDX ML-BOM, in-toto test result, Hugging Face model card."""
