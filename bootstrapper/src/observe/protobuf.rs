//! As much of protobuf's wire format as etcd's own records use: numbers and byte strings, in order.

/// One field of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// A varint.
    Number(u64),
    /// A string or message; cut short when the message was.
    Bytes {
        /// What is there of it.
        bytes: &'a [u8],
        /// How long it says it is.
        length: u64,
    },
}

/// The fields of a message in order, up to the first that is malformed or cut short.
pub struct Fields<'a>(pub &'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = (u64, Value<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let tag = self.number()?;
        let value = match tag & 7 {
            0 => Value::Number(self.number()?),
            2 => {
                let length = self.number()?;
                let here = usize::try_from(length).unwrap_or(usize::MAX).min(self.0.len());
                let (bytes, rest) = self.0.split_at(here);
                self.0 = rest;
                Value::Bytes { bytes, length }
            }
            // Fixed-width fields and groups occur in none of etcd's records.
            3.. | 1 => return None,
        };
        Some((tag >> 3, value))
    }
}

impl Fields<'_> {
    fn number(&mut self) -> Option<u64> {
        let mut number = 0u64;
        for (i, byte) in self.0.iter().take(10).enumerate() {
            number |= u64::from(byte & 0x7f) << (7 * i);
            if byte & 0x80 == 0 {
                self.0 = &self.0[i + 1..];
                return Some(number);
            }
        }
        None
    }
}

/// The number in a field; `None` when the message does not hold it.
pub fn number(message: &[u8], field: u64) -> Option<u64> {
    Fields(message).find_map(|(tag, value)| match value {
        Value::Number(number) if tag == field => Some(number),
        Value::Number(_) | Value::Bytes { .. } => None,
    })
}

/// Appends a varint.
pub fn append_number(message: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        message.push(number as u8 | 0x80);
        number >>= 7;
    }
    message.push(number as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_come_in_order_and_end_where_the_message_is_cut() {
        // type 2, crc 300, five bytes of data of which two are here
        let message = [0x08, 2, 0x10, 0xac, 0x02, 0x1a, 5, 7, 8];
        let fields: Vec<_> = Fields(&message).collect();
        assert_eq!(
            fields,
            [(1, Value::Number(2)), (2, Value::Number(300)), (3, Value::Bytes { bytes: &[7, 8], length: 5 })]
        );
        assert_eq!(Fields(&message[..4]).count(), 1, "a varint that is cut short is no field");
        assert_eq!(Fields(&[0xff; 20]).count(), 0, "a varint has at most ten bytes");
        assert_eq!(number(&message, 2), Some(300));
        assert_eq!(number(&message, 3), None);
    }
}
