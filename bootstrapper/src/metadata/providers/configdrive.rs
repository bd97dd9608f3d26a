//! OpenStack's configuration drive, a volume that is attached to the machine.

/// Its label; FAT makes capitals of it.
pub const LABEL: &str = "config-2";
