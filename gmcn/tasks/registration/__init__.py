"""The pose of a cloud on another, by networks of one class; docs/registration.md has the protocol."""
