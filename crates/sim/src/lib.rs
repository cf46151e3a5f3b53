//! Virtual devices; sees the product only over the wire, so it is an independent witness.
