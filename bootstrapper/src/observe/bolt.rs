//! As much of bolt's file format as it takes to tell a whole database from a broken one and to look up a key.
//!
//! Source: bbolt page.go, bucket.go and db.go. Two meta pages at the start, the one with the higher transaction ID that
//! checks is the database; below it a B+ tree of buckets. Nothing here trusts a number from the file.

use std::fs::File;
use std::os::unix::fs::FileExt;

use super::unsound::Unsound;

/// Bytes of the file's start that hold both meta pages, whatever the page size.
pub const HEAD: usize = 2 * MAX_PAGE;

const MAGIC: u32 = 0xed0c_daed;
const VERSION: u32 = 2;
const MIN_PAGE: usize = 1024;
const MAX_PAGE: usize = 64 * 1024;
const PAGE_HEADER: u64 = 16;
const ELEMENT: u64 = 16;
const BUCKET_HEADER: u64 = 16;
const MAX_KEY: u64 = 32 * 1024;
/// Values longer than this are not what we look for.
const MAX_VALUE: u64 = 64 * 1024;
/// A tree this deep has more pages than a file can hold.
const MAX_DEPTH: usize = 32;

const BRANCH: u16 = 1;
const LEAF: u16 = 2;
const BUCKET: u32 = 1;

/// What the newest meta page that checks says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meta {
    /// Bytes.
    pub page_size: u64,
    /// Number of pages that the file must have.
    pub high_water: u64,
    root: u64,
    transaction: u64,
}

impl Meta {
    /// Reads the meta pages from the start of a file of this size; fewer than [`HEAD`] bytes only when the file is shorter.
    ///
    /// # Errors
    /// In words, when neither page checks or the file is shorter than its pages.
    pub fn parse(head: &[u8], size: u64) -> Result<Meta, String> {
        let mut pages: Vec<Meta> = Vec::new();
        if let Some(meta) = meta_page(head, 0) {
            pages.push(meta);
            pages.extend(meta_page(head, meta.page_size as usize));
        } else {
            let mut page = MIN_PAGE;
            while page <= MAX_PAGE {
                pages.extend(meta_page(head, page).filter(|m| m.page_size == page as u64));
                page *= 2;
            }
        }
        let meta = pages.into_iter().max_by_key(|m| m.transaction).ok_or("is no bolt database: no meta page checks")?;
        match meta.high_water.checked_mul(meta.page_size) {
            Some(needed) if needed <= size => Ok(meta),
            Some(needed) => Err(format!("is cut short: its pages need {needed} bytes and it has {size}")),
            None => Err("is no bolt database: it claims more pages than a file can have".into()),
        }
    }
}

fn meta_page(head: &[u8], at: usize) -> Option<Meta> {
    let meta = head.get(at + PAGE_HEADER as usize..)?.get(..64)?;
    let page_size = u64::from(u32_at(meta, 8));
    let good = u32_at(meta, 0) == MAGIC
        && u32_at(meta, 4) == VERSION
        && (MIN_PAGE as u64..=MAX_PAGE as u64).contains(&page_size)
        && page_size.is_power_of_two()
        && u64_at(meta, 56) == fnv64a(&meta[..56]);
    good.then(|| Meta {
        page_size,
        high_water: u64_at(meta, 40),
        root: u64_at(meta, 16),
        transaction: u64_at(meta, 48),
    })
}

/// Makes the first meta page of a database one that checks and says nothing false of its length; the root that it names,
/// a size of pages that can be, and all other pages stay as they are. Shorter than that page, it stays as it is.
#[cfg(any(test, feature = "fuzzing"))]
pub fn mend(database: &mut [u8]) {
    let length = database.len();
    let Some(meta) = database.get_mut(PAGE_HEADER as usize..).and_then(|rest| rest.get_mut(..64)) else { return };
    meta[..4].copy_from_slice(&MAGIC.to_le_bytes());
    meta[4..8].copy_from_slice(&VERSION.to_le_bytes());
    let page = usize::try_from(u32_at(meta, 8)).unwrap_or(MIN_PAGE).clamp(MIN_PAGE, MAX_PAGE).next_power_of_two();
    meta[8..12].copy_from_slice(&(page as u32).to_le_bytes());
    meta[40..48].copy_from_slice(&((length / page) as u64).to_le_bytes());
    let sum = fnv64a(&meta[..56]);
    meta[56..].copy_from_slice(&sum.to_le_bytes());
}

fn fnv64a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, b| (hash ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3))
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

/// An open database.
pub struct Bolt {
    file: File,
    meta: Meta,
}

/// A page, or a small bucket's page inside its parent's leaf.
struct Node {
    at: u64,
    leaf: bool,
    count: u64,
}

struct Element {
    key: Vec<u8>,
    flags: u32,
    /// A branch's child page.
    child: u64,
    /// A leaf's value: where, how long.
    value: (u64, u64),
}

/// A key and its value.
pub type Entry = (Vec<u8>, Vec<u8>);

impl Bolt {
    /// Opens a database for reading; the file's position does not matter.
    ///
    /// # Errors
    /// `Damaged` when the meta pages do not check or the file is shorter than its pages.
    pub fn open(file: File) -> Result<Bolt, Unsound> {
        let size = file.metadata()?.len();
        let mut head = vec![0; usize::try_from(size).unwrap_or(HEAD).min(HEAD)];
        file.read_exact_at(&mut head, 0)?;
        let meta = Meta::parse(&head, size).map_err(Unsound::Damaged)?;
        Ok(Bolt { file, meta })
    }

    /// The value of a key in a top-level bucket, at most 64 KiB.
    ///
    /// # Errors
    /// `Damaged` when the way there is.
    pub fn get(&self, bucket: &str, key: &str) -> Result<Option<Vec<u8>>, Unsound> {
        let Some(bucket) = self.bucket(bucket)? else { return Ok(None) };
        let Some(found) = self.find(bucket, key.as_bytes())? else { return Ok(None) };
        let (at, length) = found.value;
        if length > MAX_VALUE || found.flags & BUCKET != 0 {
            return Err(Unsound::damaged(format!("the value of {key} is {length} bytes long")));
        }
        self.bytes(at, length).map(Some)
    }

    /// The greatest key of a top-level bucket; `None` when it is empty or not there.
    ///
    /// # Errors
    /// `Damaged` when the way there is.
    pub fn last_key(&self, bucket: &str) -> Result<Option<Vec<u8>>, Unsound> {
        let Some(mut node) = self.bucket(bucket)? else { return Ok(None) };
        for _ in 0..MAX_DEPTH {
            let Some(last) = node.count.checked_sub(1) else { return Ok(None) };
            let element = self.element(&node, last)?;
            if node.leaf {
                return Ok(Some(element.key));
            }
            node = self.page(element.child)?;
        }
        Err(Unsound::damaged("its tree has no end"))
    }

    /// All keys of a top-level bucket with their values, in order; none when it is not there.
    ///
    /// # Errors
    /// `Damaged` when the way there is, or when there are more than `most`.
    pub fn entries(&self, bucket: &str, most: usize) -> Result<Vec<Entry>, Unsound> {
        let mut entries = Vec::new();
        let mut open: Vec<(Node, u64)> = self.bucket(bucket)?.into_iter().map(|node| (node, 0)).collect();
        // Pages that are their own children would be gone through for years.
        let mut left = self.meta.high_water;
        while let Some((node, next)) = open.pop() {
            if next >= node.count {
                continue;
            }
            let element = self.element(&node, next)?;
            let leaf = node.leaf;
            open.push((node, next + 1));
            if !leaf {
                left = left.saturating_sub(1);
                if open.len() > MAX_DEPTH || left == 0 {
                    return Err(Unsound::damaged("its tree has no end"));
                }
                open.push((self.page(element.child)?, 0));
                continue;
            }
            let (at, length) = element.value;
            if entries.len() == most || length > MAX_VALUE || element.flags & BUCKET != 0 {
                return Err(Unsound::damaged(format!(
                    "{bucket} has more than {most} entries, or one that is too large"
                )));
            }
            entries.push((element.key, self.bytes(at, length)?));
        }
        Ok(entries)
    }

    fn bucket(&self, name: &str) -> Result<Option<Node>, Unsound> {
        let Some(found) = self.find(self.page(self.meta.root)?, name.as_bytes())? else { return Ok(None) };
        let (at, length) = found.value;
        if found.flags & BUCKET == 0 || length < BUCKET_HEADER {
            return Err(Unsound::damaged(format!("{name} is not a bucket")));
        }
        match u64_at(&self.bytes(at, 8)?, 0) {
            0 => self.node(at + BUCKET_HEADER).map(Some),
            root => self.page(root).map(Some),
        }
    }

    fn find(&self, mut node: Node, key: &[u8]) -> Result<Option<Element>, Unsound> {
        for _ in 0..MAX_DEPTH {
            // The last element that is not greater than the key.
            let (mut low, mut high) = (0, node.count);
            while low < high {
                let middle = low + (high - low) / 2;
                if self.element(&node, middle)?.key.as_slice() <= key { low = middle + 1 } else { high = middle }
            }
            let Some(index) = low.checked_sub(1) else { return Ok(None) };
            let element = self.element(&node, index)?;
            if node.leaf {
                return Ok((element.key == key).then_some(element));
            }
            node = self.page(element.child)?;
        }
        Err(Unsound::damaged("its tree has no end"))
    }

    fn page(&self, number: u64) -> Result<Node, Unsound> {
        if !(2..self.meta.high_water).contains(&number) {
            return Err(Unsound::damaged(format!("page {number} is outside the file")));
        }
        self.node(number * self.meta.page_size)
    }

    fn node(&self, at: u64) -> Result<Node, Unsound> {
        let header = self.bytes(at, PAGE_HEADER)?;
        let leaf = match u16_at(&header, 8) {
            LEAF => true,
            BRANCH => false,
            flags => return Err(Unsound::damaged(format!("the page at byte {at} has flags {flags:#x}"))),
        };
        Ok(Node { at, leaf, count: u64::from(u16_at(&header, 10)) })
    }

    fn element(&self, node: &Node, index: u64) -> Result<Element, Unsound> {
        let at = node.at + PAGE_HEADER + index * ELEMENT;
        let bytes = self.bytes(at, ELEMENT)?;
        let number = |i| u64::from(u32_at(&bytes, i));
        let (position, key, value) =
            if node.leaf { (number(4), number(8), number(12)) } else { (number(0), number(4), 0) };
        if key > MAX_KEY {
            return Err(Unsound::damaged(format!("the page at byte {} holds a key of {key} bytes", node.at)));
        }
        Ok(Element {
            key: self.bytes(at + position, key)?,
            flags: u32_at(&bytes, 0),
            child: u64_at(&bytes, 8),
            value: (at + position + key, value),
        })
    }

    fn bytes(&self, at: u64, length: u64) -> Result<Vec<u8>, Unsound> {
        let end = self.meta.high_water * self.meta.page_size;
        if at > end || length > end - at {
            return Err(Unsound::damaged(format!("byte {at} and {length} more are outside its pages")));
        }
        let mut bytes = vec![0; length as usize];
        self.file.read_exact_at(&mut bytes, at)?;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meta(page_size: u32, high_water: u64, transaction: u64) -> Vec<u8> {
        let mut page = vec![0; 16];
        page.extend(MAGIC.to_le_bytes());
        page.extend(VERSION.to_le_bytes());
        page.extend(page_size.to_le_bytes());
        page.extend([0; 4]);
        page.extend([3u64, 0, 2, high_water, transaction].iter().flat_map(|n| n.to_le_bytes()));
        let sum = fnv64a(&page[16..]);
        page.extend(sum.to_le_bytes());
        page.resize(page_size as usize, 0);
        page
    }

    #[test]
    fn the_newest_meta_page_that_checks_is_the_database() {
        let (old, new) = (meta(4096, 4, 7), meta(4096, 9, 8));
        let broken = |mut page: Vec<u8>| {
            page[60] ^= 1;
            page
        };
        for (first, second, expected) in [
            (old.clone(), new.clone(), Ok(9)),
            (new.clone(), old.clone(), Ok(9)),
            (old.clone(), broken(new.clone()), Ok(4)),
            (broken(old.clone()), new.clone(), Ok(9)),
            (broken(old.clone()), broken(new.clone()), Err("is no bolt database: no meta page checks".to_owned())),
        ] {
            let head = [first, second].concat();
            assert_eq!(Meta::parse(&head, 9 * 4096).map(|m| m.high_water), expected);
        }
        let cut = Meta::parse(&[old, new].concat(), 9 * 4096 - 1);
        assert_eq!(cut, Err("is cut short: its pages need 36864 bytes and it has 36863".to_owned()));
        assert!(Meta::parse(&[], 0).is_err());
    }

    #[test]
    fn a_page_that_is_its_own_child_has_an_end() {
        let put = |page: &mut Vec<u8>, at: usize, bytes: &[u8]| page[at..at + bytes.len()].copy_from_slice(bytes);
        let page = |flags: u16, count: u16| {
            let mut page = vec![0; MIN_PAGE];
            put(&mut page, 8, &flags.to_le_bytes());
            put(&mut page, 10, &count.to_le_bytes());
            page
        };
        // Page 2 is the root, a leaf with one bucket, and page 3 that bucket: forty times page 3 and no key.
        let mut root = page(LEAF, 1);
        put(&mut root, 16, &BUCKET.to_le_bytes());
        put(&mut root, 20, &16u32.to_le_bytes());
        put(&mut root, 24, &7u32.to_le_bytes());
        put(&mut root, 28, &16u32.to_le_bytes());
        put(&mut root, 32, b"members");
        put(&mut root, 39, &3u64.to_le_bytes());
        let mut own = page(BRANCH, 40);
        for child in 0..40 {
            put(&mut own, 16 + 16 * child + 8, &3u64.to_le_bytes());
        }
        let mut database = vec![0; 2 * MIN_PAGE];
        put(&mut database, 32, &2u64.to_le_bytes());
        database.extend([root, own].concat());
        mend(&mut database);
        let bolt = Bolt::open(crate::sys::memory::file(&database).unwrap()).unwrap();
        let found = bolt.entries("members", 8).map_err(|error| error.to_string());
        assert_eq!(found, Err("its tree has no end".into()));
        assert_eq!(bolt.last_key("members").map_err(|error| error.to_string()), Err("its tree has no end".into()));
    }

    #[test]
    fn fnv_is_fnv_1a_of_64_bits() {
        assert_eq!(fnv64a(b"foobar"), 0x8594_4171_f739_67e8);
    }
}
