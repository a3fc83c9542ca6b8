//! pylae-python
