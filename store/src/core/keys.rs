/// App and node of a checkpoint.
pub type CheckpointKey = (String, String);
/// App and id of a keyspace.
pub type KeyspaceKey = (String, u32);

/// Address of a row. The order is that of rows on disk.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RowKey {
    pub app: String,
    /// Id of the keyspace, never 0.
    pub keyspace: u32,
    pub table: String,
    pub key: String,
}
