//! Records within the blobs of a session. Their form is documented in `session.proto`.

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;

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

    /// Bytes that are left.
    fn rest(&self) -> &[u8] {
        self.blob.get(self.offset..).unwrap_or_default()
    }

    /// Takes a number in front of a record.
    fn number(&mut self, what: &'static str) -> Result<u32, RecordError> {
        match self.rest().first_chunk() {
            Some(bytes) => {
                let number = u32::from_be_bytes(*bytes);
                self.offset += size_of::<u32>();
                Ok(number)
            }
            None => Err(self.error(what, size_of::<u32>())),
        }
    }

    /// Takes a record's body.
    fn body(&mut self, what: &'static str, length: usize) -> Result<Bytes, RecordError> {
        if self.rest().len() < length {
            return Err(self.error(what, length));
        }
        let start = self.offset;
        self.offset += length;
        Ok(self.blob.slice(start..self.offset))
    }

    /// Error for a part that does not fit, after which nothing is left.
    fn error(&mut self, what: &'static str, needed: usize) -> RecordError {
        let error = RecordError {
            offset: self.offset,
            what,
            needed,
            left: self.rest().len(),
        };
        self.offset = self.blob.len();
        error
    }

    fn record(&mut self) -> Result<Record, RecordError> {
        let channel = self.number("channel")?;
        if channel == 0 {
            let length = self.number("control length")? as usize;
            let body = self.body("control record", length)?;
            return Ok(Record::Control(body));
        }
        let length = match self.rest().get(2..4) {
            Some(&[high, low]) => usize::from(u16::from_be_bytes([high, low])),
            _ => OPENFLOW_HEADER,
        };
        if length < OPENFLOW_HEADER {
            return Err(self.error("OpenFlow header", OPENFLOW_HEADER));
        }
        let message = self.body("OpenFlow message", length)?;
        Ok(Record::Message { channel, message })
    }
}

impl Iterator for Records {
    type Item = Result<Record, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        (!self.rest().is_empty()).then(|| self.record())
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
