//! Records within the blobs of a session. Their form is documented in `session.proto`.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use prost::Message;

/// Bytes of the channel number before each record.
const CHANNEL: usize = 4;
/// Bytes of an OpenFlow header (OpenFlow 1.3.5, section 7.1).
const OPENFLOW_HEADER: usize = 8;

/// One record of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// Bytes of a `ToApp` or `FromApp`, depending on the direction.
    Control(Bytes),
    /// Complete OpenFlow message with its channel.
    Message {
        /// Number of the channel, never 0.
        channel: u32,
        /// Bytes of the message with its header.
        message: Bytes,
    },
}

/// Error for a blob that is not a sequence of records.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("record at byte {offset}: {what} needs {needed} bytes, {left} are left")]
pub struct RecordError {
    /// Offset from the start of the blob.
    pub offset: usize,
    /// Part that does not fit.
    pub what: &'static str,
    /// Bytes that the part takes.
    pub needed: usize,
    /// Bytes from there to the end of the blob.
    pub left: usize,
}

/// Iterator over the records of a blob, which ends after the first error.
#[derive(Debug, Clone)]
pub struct Records {
    blob: Bytes,
    offset: usize,
}

impl Records {
    /// Iterates over a blob without copying it.
    pub fn new(blob: Bytes) -> Self {
        Records { blob, offset: 0 }
    }

    fn take(&mut self, what: &'static str, needed: usize) -> Result<Bytes, RecordError> {
        let left = self.blob.len();
        if left < needed {
            self.blob.clear();
            return Err(RecordError {
                offset: self.offset,
                what,
                needed,
                left,
            });
        }
        self.offset += needed;
        Ok(self.blob.split_to(needed))
    }

    fn record(&mut self) -> Result<Record, RecordError> {
        let channel = self.take("channel", CHANNEL)?.get_u32();
        if channel == 0 {
            let length = self.take("control length", 4)?.get_u32() as usize;
            return Ok(Record::Control(self.take("control record", length)?));
        }
        let left = self.blob.len();
        let length = match self.blob.get(2..4) {
            Some(&[high, low]) => usize::from(u16::from_be_bytes([high, low])),
            _ => OPENFLOW_HEADER,
        };
        let needed = length.max(OPENFLOW_HEADER);
        if length < OPENFLOW_HEADER {
            self.blob.clear();
            return Err(RecordError {
                offset: self.offset,
                what: "OpenFlow header",
                needed,
                left,
            });
        }
        Ok(Record::Message {
            channel,
            message: self.take("OpenFlow message", needed)?,
        })
    }
}

impl Iterator for Records {
    type Item = Result<Record, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        (!self.blob.is_empty()).then(|| self.record())
    }
}

/// Appends a control record.
pub fn put_control(blob: &mut BytesMut, control: &impl Message) {
    blob.put_u32(0);
    // A control record is far below 4 GiB: its parts are bounded by the transport's message limit.
    blob.put_u32(control.encoded_len() as u32);
    // BytesMut grows, so encoding into it cannot run out of room.
    let _ = control.encode(blob);
}

/// Appends an OpenFlow message with its header, for or from a channel.
pub fn put_message(blob: &mut BytesMut, channel: u32, message: &[u8]) {
    blob.put_u32(channel);
    blob.put_slice(message);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::{FromApp, ReadBegin, from_app};

    const HELLO: [u8; 8] = [4, 0, 0, 8, 0, 0, 0, 1];

    #[test]
    fn records_come_back_in_order() {
        let control = FromApp {
            record: Some(from_app::Record::ReadBegin(ReadBegin {})),
        };
        let mut blob = BytesMut::new();
        put_control(&mut blob, &control);
        put_message(&mut blob, 7, &HELLO);
        let records: Vec<_> = Records::new(blob.freeze()).map(Result::unwrap).collect();
        let [
            Record::Control(bytes),
            Record::Message {
                channel: 7,
                message,
            },
        ] = &records[..]
        else {
            panic!("{records:?}");
        };
        assert_eq!(FromApp::decode(bytes.clone()).unwrap(), control);
        assert_eq!(&message[..], HELLO);
    }

    #[test]
    fn every_truncation_is_an_error_and_ends_the_iteration() {
        let mut blob = BytesMut::new();
        put_message(&mut blob, 7, &HELLO);
        for length in 1..blob.len() {
            let results: Vec<_> = Records::new(blob.clone().freeze().slice(..length)).collect();
            assert!(matches!(results[..], [Err(_)]), "{length}: {results:?}");
        }
    }

    #[test]
    fn an_openflow_length_below_its_header_is_an_error() {
        let mut blob = BytesMut::new();
        put_message(&mut blob, 7, &[4, 0, 0, 0, 0, 0, 0, 1]);
        assert!(matches!(
            Records::new(blob.freeze()).collect::<Vec<_>>()[..],
            [Err(_)]
        ));
    }
}
