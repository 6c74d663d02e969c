"""The commands as Python functions: ``import reteach as rt`` offers what is here."""
