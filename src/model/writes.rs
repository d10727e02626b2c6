//! Each write, and what it makes of the contents.

use std::time::Duration;

use super::layer::Layer;
use super::{Contents, KEYS, Run};
use crate::batch::Batch;
use crate::conditional::Swap;
use crate::options::Durability;

pub(super) fn encoded_key(layer: &dyn Layer, key: u8) -> Vec<u8> {
    // The first is the empty key.
    layer.encoded(vec![b'k'; usize::from(key)])
}

impl Run {
    pub(super) fn put(&mut self, key: u8, len: usize, durability: Option<Durability>) {
        let key = self.key(key);
        let align = if durability.is_none() { self.layer.align(&key) } else { 1 };
        let (value, mut next) = (self.value(len, align), self.now());
        self.put_into(&mut next, &key, &value, None);
        let result = match durability {
            None => self.layer.put(&self.store, &key, &value),
            Some(durability) => self.store.put_with(&key, &value, durability),
        };
        self.wrote(result, next, durability);
    }

    pub(super) fn put_with_ttl(&mut self, key: u8, len: usize, ttl: u64) {
        let key = self.key(key);
        let (value, mut next) = (self.value(len, 1), self.now());
        self.put_into(&mut next, &key, &value, Some(ttl));
        let result = self.store.put_with_ttl(&key, &value, Duration::from_micros(ttl));
        self.wrote(result, next, None);
    }

    pub(super) fn touch(&mut self, key: u8, ttl: Option<u64>) {
        let (key, mut next) = (self.key(key), self.now());
        let known = next.get_mut(&key);
        let is_there = known.is_some();
        if let Some((_, expires_at)) = known {
            *expires_at = ttl.map(|ttl| self.time + ttl);
        }
        let result = match ttl {
            Some(ttl) => self.store.touch(&key, Duration::from_micros(ttl)),
            None => self.store.persist(&key),
        };
        let result = result.map(|found| assert_eq!(found, is_there));
        self.wrote_if(is_there, result, next);
    }

    pub(super) fn delete(&mut self, key: u8, durability: Option<Durability>) {
        let (key, mut next) = (self.key(key), self.now());
        let was_there = next.remove(&key).is_some();
        let result = match durability {
            None => self.layer.delete(&self.store, &key),
            Some(durability) => self.store.delete_with(&key, durability),
        };
        let result = result.map(|found| assert_eq!(found, was_there));
        self.wrote(result, next, durability);
    }

    pub(super) fn write_batch(
        &mut self,
        writes: &[(u8, Option<usize>)],
        durability: Option<Durability>,
    ) {
        let (mut batch, mut next) = (Batch::new(), self.now());
        for &(key, len) in writes {
            let key = self.key(key);
            if let Some(len) = len {
                let align = self.layer.align(&key);
                let value = self.value(len, align);
                self.put_into(&mut next, &key, &value, None);
                batch.put_aligned(&key, &value, align);
            } else {
                next.remove(&key);
                batch.delete(&key);
            }
        }
        let result = match durability {
            None => self.layer.write(&self.store, &batch),
            Some(durability) => self.store.write_with(&batch, durability),
        };
        // One that does nothing makes nothing durable.
        let durability = if writes.is_empty() { Some(Durability::Buffered) } else { durability };
        self.wrote(result, next, durability);
    }

    pub(super) fn put_if_absent(&mut self, key: u8, len: usize) {
        let key = self.key(key);
        let (value, mut next) = (self.value(len, 1), self.now());
        let is_absent = !next.contains_key(&key);
        if is_absent {
            self.put_into(&mut next, &key, &value, None);
        }
        let result = self.store.put_if_absent(&key, &value);
        let result = result.map(|was_absent| assert_eq!(was_absent, is_absent));
        self.wrote_if(is_absent, result, next);
    }

    pub(super) fn compare_and_swap(&mut self, key: u8, is_right: bool, len: Option<usize>) {
        let (key, mut next) = (self.key(key), self.now());
        let held = next.get(&key).map(|(value, _)| value.clone());
        let expected = match &held {
            _ if is_right => held.clone(),
            Some(held) => Some([held, &b"?"[..]].concat()),
            // What is there and empty is not what is absent.
            None => Some(Vec::new()),
        };
        let new = len.map(|len| self.value(len, 1));
        if is_right {
            match &new {
                Some(new) => self.put_into(&mut next, &key, new, None),
                None => drop(next.remove(&key)),
            }
        }
        let result = self.store.compare_and_swap(&key, expected.as_ref(), new.as_ref());
        let result = result.map(|swap| match swap {
            Swap::Done => assert!(is_right),
            Swap::Differs(found) => assert!(!is_right && found.as_deref() == held.as_deref()),
        });
        self.wrote_if(is_right, result, next);
    }

    pub(super) fn update(&mut self, key: u8, len: Option<usize>) {
        let (key, mut next) = (self.key(key), self.now());
        let held = next.remove(&key);
        let old = held.as_ref().map(|(value, _)| &value[..]);
        let new = len.map(|len| self.value(len, old.map_or(1, Self::align_of)));
        if let Some(new) = &new {
            self.put_into(&mut next, &key, new, None);
            if let (Some((_, old)), Some((_, expires_at))) = (&held, next.get_mut(&key)) {
                *expires_at = *old;
            }
        }
        let result = self.store.update(&key, |found| {
            assert_eq!(found, old);
            new.as_ref()
        });
        let result = result.map(|found| assert_eq!(found.as_deref(), old));
        self.wrote(result, next, None);
    }

    pub(super) fn rename(&mut self, from: u8, to: u8) {
        let (from, to, mut next) = (self.key(from), self.key(to), self.now());
        let held = next.remove(&from);
        let is_there = held.is_some();
        next.extend(held.map(|held| (to.clone(), held)));
        let result = self.store.rename(&from, &to);
        let result = result.map(|was_there| assert_eq!(was_there, is_there));
        self.wrote_if(is_there && from != to, result, next);
    }

    pub(super) fn retain(&mut self, kept: u8) {
        let kept: Vec<_> = (0..KEYS).filter(|n| kept >> n & 1 == 1).map(|n| self.key(n)).collect();
        let mut next = self.now();
        let (mut unseen, mut refused) = (next.clone(), Vec::new());
        let result = self.store.retain(|key, value| {
            assert!(unseen.remove(key).is_some_and(|(held, _)| held == value));
            let is_kept = kept.iter().any(|kept| kept == key);
            if !is_kept {
                refused.push(key.to_vec());
            }
            is_kept
        });
        if let Ok(deleted) = &result {
            assert!(unseen.is_empty() && *deleted == refused.len());
        }
        // Each is a write of its own, and all but the last went well.
        let last = refused.pop();
        for key in refused {
            next.remove(&key);
            self.wrote(Ok(()), next.clone(), None);
        }
        last.iter().for_each(|key| drop(next.remove(key)));
        self.wrote_if(last.is_some(), result.map(drop), next);
    }

    pub(super) fn key(&self, key: u8) -> Vec<u8> {
        encoded_key(&*self.layer, key)
    }

    /// What a put makes of the contents.
    fn put_into(&self, contents: &mut Contents, key: &[u8], value: &[u8], ttl: Option<u64>) {
        if value.is_empty() && !self.setup.stored_empty {
            contents.remove(key);
        } else {
            let ttl = ttl.or(self.setup.default_ttl);
            contents.insert(key.to_vec(), (value.to_vec(), ttl.map(|ttl| self.time + ttl)));
        }
    }

    /// No two writes write the same bytes, but for short ones. The last says what the value is aligned to.
    fn value(&mut self, len: usize, align: usize) -> Vec<u8> {
        self.writes += 1;
        let mut value = format!("{}|", self.writes).into_bytes();
        value = value.repeat(len.div_ceil(value.len()));
        value.truncate(len);
        value.last_mut().into_iter().for_each(|last| *last = b'a' + align.ilog2() as u8);
        self.layer.encoded(value)
    }

    /// What a value is aligned to.
    fn align_of(value: &[u8]) -> usize {
        value.last().and_then(|last| last.checked_sub(b'a')).map_or(1, |shift| 1 << shift)
    }

    pub(super) fn check_alignment(&self) {
        for key in self.now().keys() {
            let value = self.store.get(key).unwrap().unwrap();
            assert_eq!(value.as_ptr() as usize % Self::align_of(&value), 0, "of {key:?}");
        }
    }
}
