//! Frames encoded by other implementations (of10/*.packet): all must be decoded and encoded to the same bytes.

use bytes::BytesMut;
use morph_openflow::frame;
use morph_openflow::v10::{self, Message};

use crate::recorded;

#[test]
fn recorded_frames_decode_and_encode_to_the_same_bytes() {
    let Some(files) = recorded::files_or_skip(
        "of10",
        "recorded_frames_decode_and_encode_to_the_same_bytes",
    ) else {
        return;
    };
    let mut messages = 0;
    for path in &files {
        let bytes = std::fs::read(path).unwrap();
        let json = path.with_extension("packet.json");
        let name = path.display();
        let mut buffer = BytesMut::from(&bytes[..]);
        while let Some(frame) = frame::split(&mut buffer).unwrap() {
            let (header, message) = v10::decode(&frame).unwrap_or_else(|e| panic!("{name}: {e}"));
            assert!(!matches!(message, Message::Unknown { .. }), "{name}");
            assert_eq!(message.encode(header.xid), frame, "{name}");
            messages += 1;
            if let Ok(json) = std::fs::read_to_string(json.clone()) {
                let json: serde_json::Value = serde_json::from_str(&json).unwrap();
                agree(&message, &json).unwrap_or_else(|why| panic!("{name}: {why}"));
            }
        }
        assert!(buffer.is_empty(), "{name}");
    }
    let all = files.len();
    assert!(all > 0);
    recorded::say(&format!(
        "of10: {all} recorded frames checked ({messages} messages)"
    ));
}

/// Compares the numbers with those that the other implementation decoded.
fn agree(message: &Message, json: &serde_json::Value) -> Result<(), String> {
    let is = |what: &str, found: u64, path: &str| match json.pointer(path).map(|v| v.as_u64()) {
        Some(Some(wanted)) if wanted == found => Ok(()),
        other => Err(format!("{what} {found}, not {other:?}")),
    };
    match message {
        Message::FlowMod(m) => {
            let at = |field: &str| format!("/OFPFlowMod/{field}");
            let in_match = |field: &str| format!("/OFPFlowMod/match/OFPMatch/{field}");
            is("buffer_id", m.buffer_id.into(), &at("buffer_id"))?;
            is("command", m.command as u64, &at("command"))?;
            is("cookie", m.cookie, &at("cookie"))?;
            is("priority", m.priority.into(), &at("priority"))?;
            is("out_port", m.out_port.into(), &at("out_port"))?;
            is(
                "wildcards",
                m.match_.wildcards.into(),
                &in_match("wildcards"),
            )?;
            is("dl_type", m.match_.dl_type.into(), &in_match("dl_type"))?;
            let dst = json.pointer(&in_match("dl_dst")).and_then(|v| v.as_str());
            if dst != Some(&m.match_.dl_dst.to_string()) {
                return Err(format!("dl_dst {dst:?}"));
            }
            let actions = json.pointer(&at("actions")).and_then(|v| v.as_array());
            match actions.map(Vec::len) == Some(m.actions.len()) {
                true => Ok(()),
                false => Err(format!("{:?}, not {actions:?}", m.actions)),
            }
        }
        Message::PacketIn(m) => {
            let at = |field: &str| format!("/OFPPacketIn/{field}");
            is("buffer_id", m.buffer_id.into(), &at("buffer_id"))?;
            is("in_port", m.in_port.into(), &at("in_port"))?;
            is("reason", m.reason.into(), &at("reason"))?;
            is("total_len", m.total_len.into(), &at("total_len"))
        }
        Message::PacketOut(m) => {
            is("in_port", m.in_port.into(), "/OFPPacketOut/in_port")?;
            is("buffer_id", m.buffer_id.into(), "/OFPPacketOut/buffer_id")
        }
        Message::FeaturesReply(m) => {
            let at = |field: &str| format!("/OFPSwitchFeatures/{field}");
            is("datapath_id", m.datapath_id, &at("datapath_id"))?;
            is("capabilities", m.capabilities.into(), &at("capabilities"))?;
            is("actions", m.actions.into(), &at("actions"))?;
            is("n_tables", m.n_tables.into(), &at("n_tables"))?;
            for port in &m.ports {
                let at = |f: &str| format!("{}/{}/OFPPhyPort/{f}", at("ports"), port.port_no);
                is("state", port.state.into(), &at("state"))?;
                is("curr", port.curr.into(), &at("curr"))?;
                is("peer", port.peer.into(), &at("peer"))?;
            }
            Ok(())
        }
        Message::FeaturesRequest => Ok(()),
        other => Err(format!("{other:?} is compared with nothing")),
    }
}
