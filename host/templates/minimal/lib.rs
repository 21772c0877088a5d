use dropsonde_plugin_api::prelude::*;

/// Open files of the whole machine.
#[derive(Record)]
struct Files {
    /// Open files: file-nr in proc_sys_fs(5).
    #[gauge(unit = "{file}")]
    open: u64,
}
impl Collector for Files {
    type Settings = NoSettings;
    type Streams = (Self,);
    fn create(_: NoSettings, _: Host) -> Result<Self> {
        Ok(Self { open: 0 })
    }
    fn collect(&mut self, out: &mut Batch) -> Result<()> {
        let text = std::fs::read_to_string("/proc/sys/fs/file-nr")?;
        let open = text.split('\t').next().unwrap_or_default().parse()?;
        out.push(Self { open })
    }
}
export_plugin!(collector = Files);
#[cfg(test)]
dropsonde_plugin_api::contract_test!(collector = Files);
