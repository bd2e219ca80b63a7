//! Derive macros of the SDK.

use proc_macro2::TokenStream;
use quote::quote;
use syn::spanned::Spanned;
use syn::{Data, DataEnum, DataStruct, DeriveInput, Error, Fields, Ident, Index, Member, Type};

/// Derives `Key` for a struct whose fields are keys, or for an enum whose variants have no fields.
///
/// - The parts of a struct's key are its fields, in their order. `KeyPrefix` is derived for its first field, and for tuples of
///   its first two, three, ... fields.
/// - The text of an enum's key is its variant's name in lower case, its words joined by `-`.
///
/// `Ord` has to be derived as well: rows are found by their leading parts only if keys are in the order of their fields.
#[proc_macro_derive(Key)]
pub fn derive_key(input: proc_macro::TokenStream) -> proc_macro::TokenStream {
    let key = syn::parse(input).and_then(|input| key(&input));
    key.unwrap_or_else(Error::into_compile_error).into()
}

fn key(input: &DeriveInput) -> Result<TokenStream, Error> {
    if !input.generics.params.is_empty() {
        let why = "a key has no generic parameters";
        return Err(Error::new(input.generics.span(), why));
    }
    match &input.data {
        Data::Struct(data) => struct_key(&input.ident, data),
        Data::Enum(data) => enum_key(&input.ident, data),
        Data::Union(data) => {
            let why = "a key is a struct or an enum";
            Err(Error::new(data.union_token.span(), why))
        }
    }
}

fn struct_key(name: &Ident, data: &DataStruct) -> Result<TokenStream, Error> {
    let (members, types): (Vec<Member>, Vec<&Type>) = data
        .fields
        .iter()
        .enumerate()
        .map(|(at, field)| {
            let named = field.ident.clone().map(Member::Named);
            let member = named.unwrap_or_else(|| Member::Unnamed(Index::from(at)));
            (member, &field.ty)
        })
        .unzip();
    let (Some((last, leading)), Some((last_type, leading_types))) =
        (members.split_last(), types.split_last())
    else {
        return Err(Error::new(name.span(), "a key has at least one field"));
    };
    let prefixes = (1..members.len()).map(|length| {
        let (first, rest) = members.split_at(length);
        let (first_types, rest_types) = types.split_at(length);
        prefix(name, first, first_types, rest, rest_types)
    });
    Ok(quote! {
        impl ::morph_sdk::Key for #name {
            fn least() -> Self {
                Self { #(#members: <#types as ::morph_sdk::Key>::least(),)* }
            }

            fn write(&self, out: &mut ::morph_sdk::KeyText) {
                #(out.lead(|out| ::morph_sdk::Key::write(&self.#leading, out));)*
                ::morph_sdk::Key::write(&self.#last, out);
            }

            fn read(parts: &mut ::morph_sdk::KeyParts<'_>) -> ::core::option::Option<Self> {
                ::core::option::Option::Some(Self {
                    #(#leading: parts.lead(<#leading_types as ::morph_sdk::Key>::read)?,)*
                    #last: <#last_type as ::morph_sdk::Key>::read(parts)?,
                })
            }
        }

        #(#prefixes)*
    })
}

/// Makes `KeyPrefix` for the first fields of a struct.
fn prefix(
    name: &Ident,
    first: &[Member],
    first_types: &[&Type],
    rest: &[Member],
    rest_types: &[&Type],
) -> TokenStream {
    let parts = (0..first.len()).map(Index::from);
    let (part_type, parts): (TokenStream, Vec<TokenStream>) = match first_types {
        [one] => (quote!(#one), vec![quote!(first)]),
        several => (
            quote!((#(#several),*)),
            parts.map(|at| quote!(first.#at)).collect(),
        ),
    };
    let equal = match first {
        [one] => quote!(self.#one == *first),
        several => quote!(#(self.#several == #parts)&&*),
    };
    quote! {
        impl ::morph_sdk::KeyPrefix<#part_type> for #name {
            fn least_of(first: &#part_type) -> Self {
                Self {
                    #(#first: ::core::clone::Clone::clone(&#parts),)*
                    #(#rest: <#rest_types as ::morph_sdk::Key>::least(),)*
                }
            }

            fn begins_with(&self, first: &#part_type) -> bool {
                #equal
            }
        }
    }
}

fn enum_key(name: &Ident, data: &DataEnum) -> Result<TokenStream, Error> {
    let fields = data
        .variants
        .iter()
        .find(|variant| !matches!(variant.fields, Fields::Unit));
    if let Some(variant) = fields {
        let why =
            "a variant of a key has no fields: make the key a struct of an enum and the fields";
        return Err(Error::new(variant.span(), why));
    }
    let variants: Vec<&Ident> = data.variants.iter().map(|variant| &variant.ident).collect();
    let texts: Vec<String> = variants.iter().map(|name| words(name)).collect();
    let Some((first, others)) = variants.split_first() else {
        return Err(Error::new(name.span(), "a key has at least one variant"));
    };
    if let Some(at) = (1..texts.len()).find(|at| texts[..*at].contains(&texts[*at])) {
        let why = format!("two variants have the text {:?}", texts[at]);
        return Err(Error::new(variants[at].span(), why));
    }
    Ok(quote! {
        impl ::morph_sdk::Key for #name {
            fn least() -> Self {
                Self::#first #(.min(Self::#others))*
            }

            fn write(&self, out: &mut ::morph_sdk::KeyText) {
                out.text(match self { #(Self::#variants => #texts,)* });
            }

            fn read(parts: &mut ::morph_sdk::KeyParts<'_>) -> ::core::option::Option<Self> {
                match &*parts.text()? {
                    #(#texts => ::core::option::Option::Some(Self::#variants),)*
                    _ => ::core::option::Option::None,
                }
            }
        }
    })
}

/// Name of a variant in lower case, its words joined by `-`.
fn words(name: &Ident) -> String {
    let name = name.to_string();
    let mut out = String::new();
    for letter in name.trim_start_matches("r#").chars() {
        if letter.is_uppercase() && !out.is_empty() {
            out.push('-');
        }
        out.extend(letter.to_lowercase());
    }
    out
}

#[cfg(test)]
mod tests {
    use syn::parse_quote;

    use super::*;

    fn error_of(input: &DeriveInput) -> Option<String> {
        key(input).err().map(|error| error.to_string())
    }

    #[test]
    fn a_type_that_can_be_no_key_is_refused_with_the_reason() {
        let refused: [(DeriveInput, &str); 6] = [
            (
                parse_quote!(
                    struct A;
                ),
                "at least one field",
            ),
            (
                parse_quote!(
                    enum A {}
                ),
                "at least one variant",
            ),
            (
                parse_quote!(
                    enum A {
                        One,
                        Two(u8),
                    }
                ),
                "has no fields",
            ),
            (
                parse_quote!(
                    enum A {
                        ab,
                        Ab,
                    }
                ),
                "have the text \"ab\"",
            ),
            (
                parse_quote!(
                    struct A<T>(T);
                ),
                "generic",
            ),
            (parse_quote!(union A { a: u8 }), "a struct or an enum"),
        ];
        for (input, reason) in refused {
            let error = error_of(&input).unwrap();
            assert!(error.contains(reason), "{error}");
        }
        assert_eq!(
            error_of(&parse_quote!(
                struct A(u8);
            )),
            None
        );
    }
}
