//! Where a member's disk is used: by which instance, on which volume. What tells a disk from a copy of its bytes.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::facts::{DataDir, Identity};

/// `identity.json`: who lives on the data disk, and where it was last handed off.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// Who.
    #[serde(flatten)]
    pub identity: Identity,
    /// Where; nothing in a file of a version that did not note it.
    #[serde(default)]
    pub place: Place,
}

/// An instance and a volume, as far as they are known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// What whoever made the instance calls it.
    pub instance_id: Option<String>,
    /// The disk below the data dir's file system.
    #[serde(default)]
    pub volume: VolumeId,
}

/// What a disk says of itself and a copy of its bytes does not; nothing where it says nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeId {
    /// Serial number of the whole disk.
    pub serial: Option<String>,
    /// World Wide ID of the whole disk.
    pub wwid: Option<String>,
}

impl VolumeId {
    /// Whether both are one volume; `None` when they have nothing in common that could be compared.
    ///
    /// One equal name is enough: another driver or kernel shows the same disk with another World Wide ID, or without.
    fn is(&self, other: &VolumeId) -> Option<bool> {
        let pairs = [(&self.serial, &other.serial), (&self.wwid, &other.wwid)];
        let known: Vec<bool> = pairs.into_iter().filter_map(|(a, b)| Some(a.as_ref()? == b.as_ref()?)).collect();
        if known.is_empty() { None } else { Some(known.contains(&true)) }
    }

    fn is_known(&self) -> bool {
        self.serial.is_some() || self.wwid.is_some()
    }
}

impl Place {
    /// Whether data that was recorded at this place is a copy when it is found at that one: both halves are known on both
    /// sides, and both differ.
    ///
    /// The same volume at another instance has a new system, the same instance with another volume had its disk moved.
    pub fn is_copied_to(&self, now: &Place) -> bool {
        let other_instance = matches!((&self.instance_id, &now.instance_id), (Some(then), Some(now)) if then != now);
        other_instance && self.volume.is(&now.volume) == Some(false)
    }

    /// What to record where data that was recorded at this place goes on at that one, and is no copy.
    ///
    /// A change of one half is recorded at once: the other half is the same one, which is in one place only, so whoever
    /// used the data before does not have it any more; and a later change of that other half must not look like a copy.
    /// A half that is not known now stays as it was only while the other one proves that nothing has moved. Where
    /// that one has changed, the unknown one may have too: it is forgotten, and nothing is concluded from it later.
    pub fn going_on_at(&self, now: &Place) -> Place {
        let same_instance = self.instance_id.is_some() && self.instance_id == now.instance_id;
        let same_volume = self.volume.is(&now.volume) == Some(true);
        let nothing_known = now.instance_id.is_none() && !now.volume.is_known();
        let instance_id = now.instance_id.clone();
        Place {
            instance_id: instance_id.or_else(|| self.instance_id.clone().filter(|_| same_volume || nothing_known)),
            volume: match (now.volume.is_known(), same_volume) {
                (true, true) => VolumeId {
                    serial: now.volume.serial.clone().or_else(|| self.volume.serial.clone()),
                    wwid: now.volume.wwid.clone().or_else(|| self.volume.wwid.clone()),
                },
                (true, false) => now.volume.clone(),
                (false, _) if same_instance || nothing_known => self.volume.clone(),
                (false, _) => VolumeId::default(),
            },
        }
    }
}

impl Kept {
    /// The class of a disk that holds this where it is a copy of the one that was recorded.
    pub fn copied_to(&self, now: &Place) -> Option<DataDir> {
        let Identity { name, member_id, cluster, cluster_id, .. } = &self.identity;
        self.place.is_copied_to(now).then(|| DataDir::Foreign {
            found: format!("{name} ({member_id}) of cluster {cluster} ({cluster_id}) as it ran on {}", self.place),
            expected: now.to_string(),
            copied: true,
        })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.instance_id {
            Some(id) => write!(f, "instance {id}")?,
            None => f.write_str("an unknown instance")?,
        }
        write!(f, " with {}", self.volume)
    }
}

impl fmt::Display for VolumeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.serial, &self.wwid) {
            (Some(serial), Some(wwid)) => write!(f, "the disk with serial {serial} (World Wide ID {wwid})"),
            (Some(serial), None) => write!(f, "the disk with serial {serial}"),
            (None, Some(wwid)) => write!(f, "the disk with World Wide ID {wwid}"),
            (None, None) => f.write_str("an unknown disk"),
        }
    }
}
