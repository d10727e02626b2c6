use zerocask::*;
fn main() -> Result<()> {
    let dir = tempfile::tempdir().unwrap();
    let n = 100_000u32;
    {
        let s = Options::new().segment_size(1 << 20).durability(Durability::Buffered).open(dir.path())?;
        for i in 0..n { s.put(i.to_string(), format!("value {i}"))?; }
        for i in 0..n { assert_eq!(s.get(i.to_string())?.unwrap(), format!("value {i}").as_bytes()); }
        for i in (0..n).step_by(3) { assert!(s.delete(i.to_string())?); }
        println!("{:?}", s.stats());
        println!("{:?}", s.compact()?);
        println!("{:?}", s.stats());
        s.put("tail", "x")?;
        s.close()?;
    }
    let s = Store::open(dir.path())?;
    println!("{:?} {:?}", s.recovery_report(), s.stats());
    for i in 0..n { assert_eq!(s.get(i.to_string())?.is_some(), i % 3 != 0); }
    s.put("again", "y")?;
    std::mem::forget(s.clone());
    assert!(matches!(Store::open(dir.path()), Err(Error::Locked{..})));
    assert_eq!(s.keys().count(), s.len());
    println!("{:?}", s.stats());
    Ok(())
}
