"""The live checklist: what is promised, how it is proved, and since when it holds."""
