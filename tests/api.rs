//! docs/api.txt lists the public interface, so that whoever changes it sees what changes.
//!
//! The list is made from the sources and not by a compiler, so that it is the same under every version. What is
//! `pub` there is public: the lint `unreachable_pub` sees to that. An item is listed as far as callers
//! depend on it: without bodies, documentation and private fields. Auto traits are not listed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use syn::parse::Parser;
use syn::visit_mut::{self, VisitMut};
use syn::{
    Attribute, Block, Field, Fields, File, ImplItem, Item, ItemImpl, ItemStruct, PatIdent,
    Receiver, ReceiverKind, Visibility,
};

const LIST: &str = "docs/api.txt";
const UPDATE: &str = "ZEROCASK_UPDATE_API";

/// Those that callers see.
const ATTRIBUTES: [&str; 6] = ["cfg", "deprecated", "derive", "must_use", "non_exhaustive", "repr"];

#[test]
fn the_public_interface_is_the_one_that_is_listed() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let found = interface(&root.join("src"));
    if std::env::var_os(UPDATE).is_some() {
        fs::write(root.join(LIST), &found).unwrap();
    }
    let listed = fs::read_to_string(root.join(LIST)).unwrap_or_default();
    let differences = differences(&listed, &found);
    assert!(
        listed == found,
        "the public interface is not as {LIST} has it:\n{differences}\
         If it is meant to change, tell of it in CHANGELOG.md and list it anew:\n\
         {UPDATE}=1 cargo test --test api"
    );
}

/// The lines that only one of two texts has, as `diff` marks them.
fn differences(listed: &str, found: &str) -> String {
    let mut lines: BTreeMap<&str, i32> = BTreeMap::new();
    listed.lines().for_each(|line| *lines.entry(line).or_default() -= 1);
    found.lines().for_each(|line| *lines.entry(line).or_default() += 1);
    let told = |(line, count): (&str, i32)| match count {
        0 => String::new(),
        ..0 => format!("-{line}\n"),
        _ => format!("+{line}\n"),
    };
    lines.into_iter().map(told).collect()
}

/// The items of public modules, by their paths, with those of the private modules in them.
type Modules = BTreeMap<String, Vec<Item>>;

/// Reads the items of the module `path`, whose modules lie in `dir` and which are there under these conditions.
fn read(modules: &mut Modules, path: &str, items: Vec<Item>, dir: &Path, under: &[Attribute]) {
    for mut item in items {
        let Some(attributes) = attributes(&mut item) else { continue };
        attributes.extend_from_slice(under);
        if attributes.iter().any(is_test) {
            continue;
        }
        let Item::Mod(module) = item else {
            modules.entry(path.to_owned()).or_default().push(item);
            continue;
        };
        let dir = dir.join(module.ident.to_string());
        let path = if is_public(&module.vis) { &format!("{path}::{}", module.ident) } else { path };
        let items = module.content.map_or_else(|| parse(&dir), |(_, items)| items);
        let is_condition = |it: &Attribute| it.path().is_ident("cfg");
        let under: Vec<_> = module.attrs.into_iter().filter(is_condition).collect();
        read(modules, path, items, &dir, &under);
    }
}

/// The items of the module `dir.rs`, or `dir/mod.rs`.
fn parse(dir: &Path) -> Vec<Item> {
    let file = dir.with_extension("rs");
    let file = if file.exists() { file } else { dir.join("mod.rs") };
    let source = fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    syn::parse_file(&source).unwrap_or_else(|e| panic!("{}: {e}", file.display())).items
}

/// Of an item that may be listed, or hold what may be.
fn attributes(item: &mut Item) -> Option<&mut Vec<Attribute>> {
    Some(match item {
        Item::Const(it) => &mut it.attrs,
        Item::Enum(it) => &mut it.attrs,
        Item::Fn(it) => &mut it.attrs,
        Item::Impl(it) => &mut it.attrs,
        Item::Macro(it) => &mut it.attrs,
        Item::Mod(it) => &mut it.attrs,
        Item::Struct(it) => &mut it.attrs,
        Item::Trait(it) => &mut it.attrs,
        Item::Type(it) => &mut it.attrs,
        _ => return None,
    })
}

/// Whether it is a condition that only builds for tests fulfil.
fn is_test(attribute: &Attribute) -> bool {
    let Ok(list) = attribute.meta.require_list() else { return false };
    let condition = list.tokens.to_string();
    attribute.path().is_ident("cfg")
        && words(&condition).any(|word| ["fuzzing", "loom", "test"].contains(&word))
        && !words(&condition).any(|word| word == "not")
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric() && c != '_')
}

/// The name of an item, and whether it is public.
fn name(item: &Item) -> Option<(String, bool)> {
    let (visibility, name) = match item {
        Item::Const(it) => (&it.vis, &it.ident),
        Item::Enum(it) => (&it.vis, &it.ident),
        Item::Fn(it) => (&it.vis, &it.sig.ident),
        Item::Struct(it) => (&it.vis, &it.ident),
        Item::Trait(it) => (&it.vis, &it.ident),
        Item::Type(it) => (&it.vis, &it.ident),
        _ => return None,
    };
    Some((name.to_string(), is_public(visibility)))
}

fn is_public(visibility: &Visibility) -> bool {
    matches!(visibility, Visibility::Public(_))
}

/// All that is public in the crate whose lib.rs is in `src`.
fn interface(src: &Path) -> String {
    let lib = parse(&src.join("lib"));
    let is_shown = |item: &&Item| matches!(item, Item::Use(it) if is_public(&it.vis));
    let shown: Vec<_> = lib.iter().filter(is_shown).cloned().collect();
    let mut modules = Modules::new();
    read(&mut modules, "zerocask", lib, src, &[]);
    let mut names = BTreeMap::new();
    for (name, is_public) in modules.values().flatten().filter_map(name) {
        *names.entry(name).or_default() |= is_public;
    }
    modules.entry("zerocask".to_owned()).or_default().extend(shown);
    let list = |(path, items)| format!("// {path}\n\n{}", list(items, &names));
    modules.into_iter().map(list).collect::<Vec<_>>().join("\n")
}

/// What of these items is public, by the name of the type that it is about. `names` are the crate's.
fn list(items: Vec<Item>, names: &BTreeMap<String, bool>) -> String {
    let mut listed: BTreeMap<(String, bool, String), Item> = BTreeMap::new();
    for mut item in items {
        Face.visit_item_mut(&mut item);
        let key = match &item {
            Item::Use(_) => (String::new(), false, source(vec![item.clone()])),
            Item::Macro(it) if it.ident.is_none() => {
                (String::new(), true, source(vec![item.clone()]))
            }
            Item::Impl(it) => {
                let header = source(vec![Item::Impl(ItemImpl { items: Vec::new(), ..it.clone() })]);
                // Of a trait's, its type comes first; a type of another crate has an interface by a trait of this one.
                let (of, whose) = header.rsplit_once(" for ").unwrap_or(("", &header));
                let mut known =
                    words(whose).chain(words(of)).filter_map(|it| names.get_key_value(it));
                match known.next() {
                    Some((name, true)) => (name.clone(), it.trait_.is_some(), header.clone()),
                    _ => continue,
                }
            }
            _ => match name(&item) {
                Some((name, true)) => (name, false, String::new()),
                _ => continue,
            },
        };
        match (listed.get_mut(&key), item) {
            (Some(Item::Impl(old)), Item::Impl(new)) => old.items.extend(new.items),
            (_, item) => drop(listed.insert(key, item)),
        }
    }
    let mut listed: Vec<_> = listed.into_values().collect();
    for item in &mut listed {
        if let Item::Impl(block) = item {
            block.items.sort_by_key(|it| match it {
                ImplItem::Const(it) => it.ident.to_string(),
                ImplItem::Fn(it) => it.sig.ident.to_string(),
                _ => String::new(),
            });
        }
    }
    // An impl that has nothing of its own to show is noise.
    listed.retain(
        |item| !matches!(item, Item::Impl(it) if it.trait_.is_none() && it.items.is_empty()),
    );
    source(listed)
}

fn source(items: Vec<Item>) -> String {
    prettyplease::unparse(&File { shebang: None, frontmatter: None, attrs: Vec::new(), items })
}

/// Leaves of items what callers depend on.
struct Face;

impl VisitMut for Face {
    fn visit_attributes_mut(&mut self, attributes: &mut Vec<Attribute>) {
        attributes.retain(|it| ATTRIBUTES.iter().any(|name| it.path().is_ident(name)));
    }

    fn visit_block_mut(&mut self, block: &mut Block) {
        block.stmts.clear();
    }

    fn visit_receiver_mut(&mut self, receiver: &mut Receiver) {
        if let ReceiverKind::Value = receiver.kind {
            receiver.mutability = None;
        }
    }

    fn visit_pat_ident_mut(&mut self, argument: &mut PatIdent) {
        argument.mutability = None;
    }

    fn visit_item_struct_mut(&mut self, item: &mut ItemStruct) {
        visit_mut::visit_item_struct_mut(self, item);
        let (fields, private) = match &mut item.fields {
            Fields::Named(it) => (&mut it.named, Field::parse_named.parse_str("_: _")),
            Fields::Unnamed(it) => (&mut it.unnamed, Field::parse_unnamed.parse_str("_")),
            Fields::Unit => return,
        };
        let all = fields.len();
        *fields = std::mem::take(fields).into_iter().filter(|it| is_public(&it.vis)).collect();
        if fields.len() < all {
            fields.push(private.unwrap());
        }
    }

    fn visit_item_impl_mut(&mut self, item: &mut ItemImpl) {
        let of_trait = item.trait_.is_some();
        item.items.retain(|it| match it {
            ImplItem::Const(it) => of_trait || is_public(&it.vis),
            ImplItem::Fn(it) => !of_trait && is_public(&it.vis),
            ImplItem::Type(_) => true,
            _ => false,
        });
        visit_mut::visit_item_impl_mut(self, item);
    }
}
