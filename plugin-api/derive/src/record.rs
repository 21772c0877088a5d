use proc_macro2::{Span, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::meta::ParseNestedMeta;
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::token::Comma;
use syn::{Attribute, Data, DeriveInput, Error, Expr, ExprLit, Field, Fields, Lit, LitStr, Meta};

const ROLES: &str = "#[key], #[counter(unit = \"By\")], #[gauge(unit = \"s\")] or #[attribute]";

pub(crate) fn expand(input: &DeriveInput) -> TokenStream {
    declared(input).unwrap_or_else(|error| {
        // The struct counts as a record all the same: what is wrong with it is enough to read.
        let error = error.to_compile_error();
        let name = &input.ident;
        let (impl_generics, type_generics, where_clause) = input.generics.split_for_impl();
        quote! {
            #error
            impl #impl_generics ::dropsonde_plugin_api::Record for #name #type_generics #where_clause {
                const STREAM: &'static str = "";

                fn schema() -> ::dropsonde_plugin_api::schema::StreamSchema {
                    ::std::unreachable!()
                }

                fn append(&self, _: &mut [::dropsonde_plugin_api::Column]) {}
            }
        }
    })
}

fn declared(input: &DeriveInput) -> syn::Result<TokenStream> {
    let fields = match &input.data {
        Data::Struct(data) => match &data.fields {
            Fields::Named(fields) => &fields.named,
            other => return Err(Error::new(other.span(), "a record needs named fields")),
        },
        _ => return Err(Error::new(input.ident.span(), "a record is a struct with named fields")),
    };
    if fields.is_empty() {
        return Err(Error::new(input.ident.span(), "a record needs at least one field"));
    }
    let stream = Stream::of(input)?;
    let columns = columns_of(fields)?;
    check_shares(&columns)?;

    let name = &input.ident;
    let (impl_generics, type_generics, where_clause) = input.generics.split_for_impl();
    let Stream { name: stream_name, kind, description } = &stream;
    let schemas = columns.iter().map(Column::schema);
    let checks = columns.iter().map(Column::check);
    let pushes = columns.iter().enumerate().map(|(index, column)| {
        let field = &column.field.ident;
        quote_spanned! { column.field.ty.span() => ::dropsonde_plugin_api::private::push_field(&self.#field, &mut columns[#index]); }
    });
    Ok(quote! {
        impl #impl_generics ::dropsonde_plugin_api::Record for #name #type_generics #where_clause {
            const STREAM: &'static str = #stream_name;

            fn schema() -> ::dropsonde_plugin_api::schema::StreamSchema {
                #(#checks)*
                ::dropsonde_plugin_api::schema::StreamSchema {
                    name: #stream_name.into(),
                    kind: ::dropsonde_plugin_api::schema::StreamKind::#kind,
                    description: #description.into(),
                    columns: ::std::vec![#(#schemas),*],
                }
            }

            fn append(&self, columns: &mut [::dropsonde_plugin_api::Column]) {
                #(#pushes)*
            }
        }
    })
}

struct Stream {
    name: String,
    kind: syn::Ident,
    description: String,
}

impl Stream {
    fn of(input: &DeriveInput) -> syn::Result<Self> {
        let mut stream = Self {
            name: String::new(),
            kind: format_ident!("Snapshot"),
            description: doc(&input.attrs),
        };
        for attribute in input.attrs.iter().filter(|attribute| attribute.path().is_ident("record"))
        {
            attribute.parse_nested_meta(|meta| {
                if meta.path.is_ident("stream") {
                    let value: LitStr = meta.value()?.parse()?;
                    check_name(&value)?;
                    stream.name = value.value();
                } else if meta.path.is_ident("kind") {
                    let value: LitStr = meta.value()?.parse()?;
                    stream.kind = match value.value().as_str() {
                        "snapshot" => format_ident!("Snapshot"),
                        "event" => format_ident!("Event"),
                        _ => {
                            let text = "a stream is of kind \"snapshot\" or \"event\"";
                            return Err(Error::new(value.span(), text));
                        }
                    };
                } else {
                    return Err(meta.error("#[record] knows `stream` and `kind`"));
                }
                Ok(())
            })?;
        }
        if stream.description.is_empty() {
            let text = "say what one record stands for, in a doc comment: it becomes the stream's description";
            return Err(Error::new(input.ident.span(), text));
        }
        Ok(stream)
    }
}

struct Column<'a> {
    field: &'a Field,
    role: &'static str,
    name: String,
    description: String,
    unit: String,
    otel: String,
    attributes: Vec<(String, String)>,
    share: Option<Share>,
}

#[derive(Default)]
struct Share {
    name: String,
    of: String,
    otel: String,
    span: Option<Span>,
}

impl<'a> Column<'a> {
    fn of(field: &'a Field) -> syn::Result<Self> {
        let ident = field.ident.as_ref().ok_or_else(|| Error::new(field.span(), "needs a name"))?;
        let name = ident.to_string().trim_start_matches("r#").to_owned();
        let (attribute, role) = role_of(field, &name)?;
        let mut column = Self {
            field,
            role,
            description: doc(&field.attrs),
            unit: String::new(),
            otel: String::new(),
            attributes: Vec::new(),
            share: None,
            name,
        };
        if !matches!(attribute.meta, Meta::Path(_)) {
            attribute.parse_nested_meta(|meta| column.option(&meta))?;
        }
        let number = matches!(role, "Counter" | "Gauge");
        if number && column.unit.is_empty() {
            let text = format!(
                "`{}` needs a unit: unit = \"By\" for bytes, \"s\" for seconds, \"%\" for percent, \"{{packet}}\" for a count of packets, \"1\" for a plain number (UCUM)",
                column.name
            );
            return Err(Error::new_spanned(attribute, text));
        }
        if column.description.is_empty() {
            let text = format!(
                "say what `{}` means, in a doc comment: it becomes the column's description",
                column.name
            );
            return Err(Error::new(ident.span(), text));
        }
        Ok(column)
    }

    fn option(&mut self, meta: &ParseNestedMeta<'_>) -> syn::Result<()> {
        let number = matches!(self.role, "Counter" | "Gauge");
        if meta.path.is_ident("otel") {
            self.otel = meta.value()?.parse::<LitStr>()?.value();
        } else if number && meta.path.is_ident("unit") {
            self.unit = meta.value()?.parse::<LitStr>()?.value();
        } else if number && meta.path.is_ident("attributes") {
            meta.parse_nested_meta(|inner| {
                let name = inner
                    .path
                    .segments
                    .iter()
                    .map(|segment| segment.ident.to_string())
                    .collect::<Vec<_>>()
                    .join(".");
                let value = inner.value()?.parse::<LitStr>()?.value();
                self.attributes.push((name, value));
                Ok(())
            })?;
        } else if self.role == "Counter" && meta.path.is_ident("share") {
            let mut share = Share { span: Some(meta.path.span()), ..Share::default() };
            meta.parse_nested_meta(|inner| {
                let value = inner.value()?.parse::<LitStr>()?.value();
                match inner.path.get_ident().map(ToString::to_string).as_deref() {
                    Some("name") => share.name = value,
                    Some("of") => share.of = value,
                    Some("otel") => share.otel = value,
                    _ => return Err(inner.error("share(…) knows `name`, `of` and `otel`")),
                }
                Ok(())
            })?;
            if share.name.is_empty() || share.of.is_empty() {
                return Err(meta.error("share(name = \"…\", of = \"…\") needs both"));
            }
            self.share = Some(share);
        } else {
            return Err(meta.error(match self.role {
                "Counter" => "#[counter] knows `unit`, `otel`, `attributes(…)` and `share(…)`",
                "Gauge" => "#[gauge] knows `unit`, `otel` and `attributes(…)`",
                "Key" => "#[key] knows `otel`, and has no unit",
                _ => "#[attribute] knows `otel`, and has no unit",
            }));
        }
        Ok(())
    }

    fn check(&self) -> TokenStream {
        let kind = &self.field.ty;
        let check = format_ident!("{}", self.role.to_lowercase());
        quote_spanned! { kind.span() => let _ = ::dropsonde_plugin_api::private::#check::<#kind>; }
    }

    fn schema(&self) -> TokenStream {
        let Self { name, description, unit, otel, .. } = self;
        let role = format_ident!("{}", self.role);
        let kind = &self.field.ty;
        let attributes = self.attributes.iter().map(|(name, value)| {
            quote! { (#name.into(), #value.into()) }
        });
        let share = match &self.share {
            Some(Share { name, of, otel, .. }) => quote! {
                ::std::option::Option::Some(::dropsonde_plugin_api::schema::Share {
                    name: #name.into(),
                    of: #of.into(),
                    otel: #otel.into(),
                })
            },
            None => quote! { ::std::option::Option::None },
        };
        quote! {
            ::dropsonde_plugin_api::schema::ColumnSchema {
                name: #name.into(),
                role: ::dropsonde_plugin_api::schema::Role::#role,
                value: <#kind as ::dropsonde_plugin_api::Field>::VALUE,
                unit: #unit.into(),
                description: #description.into(),
                otel: #otel.into(),
                attributes: ::std::vec![#(#attributes),*],
                share: #share,
            }
        }
    }
}

/// All columns, or all that is wrong with them.
fn columns_of(fields: &Punctuated<Field, Comma>) -> syn::Result<Vec<Column<'_>>> {
    let mut columns = Vec::new();
    let mut errors: Option<Error> = None;
    for field in fields {
        match (Column::of(field), &mut errors) {
            (Ok(column), _) => columns.push(column),
            (Err(error), Some(errors)) => errors.combine(error),
            (Err(error), none) => *none = Some(error),
        }
    }
    errors.map_or(Ok(columns), Err)
}

fn role_of<'a>(field: &'a Field, name: &str) -> syn::Result<(&'a Attribute, &'static str)> {
    let mut found = None;
    for attribute in &field.attrs {
        let role = match attribute.path().get_ident().map(ToString::to_string).as_deref() {
            Some("key") => "Key",
            Some("counter") => "Counter",
            Some("gauge") => "Gauge",
            Some("attribute") => "Attribute",
            _ => continue,
        };
        if found.replace((attribute, role)).is_some() {
            let text = format!("`{name}` has two roles; keep one of {ROLES}");
            return Err(Error::new_spanned(attribute, text));
        }
    }
    let missing = || Error::new(field.ident.span(), format!("`{name}` needs a role: {ROLES}"));
    found.ok_or_else(missing)
}

fn check_shares(columns: &[Column<'_>]) -> syn::Result<()> {
    for share in columns.iter().filter_map(|column| column.share.as_ref()) {
        let whole = columns.iter().find(|column| column.name == share.of);
        if whole.is_none_or(|whole| whole.role != "Counter") {
            let text = format!("there is no counter `{}` in this record", share.of);
            return Err(Error::new(share.span.unwrap_or_else(Span::call_site), text));
        }
    }
    Ok(())
}

fn check_name(value: &LitStr) -> syn::Result<()> {
    let name = value.value();
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    if name.is_empty() || !name.bytes().all(allowed) {
        let text = "a stream's name has only a-z, 0-9 and `_`; leave `stream` out for the collector's main stream";
        return Err(Error::new(value.span(), text));
    }
    Ok(())
}

fn doc(attributes: &[Attribute]) -> String {
    let lines = attributes.iter().filter_map(|attribute| match &attribute.meta {
        Meta::NameValue(meta) if meta.path.is_ident("doc") => match &meta.value {
            Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => Some(text.value().trim().to_owned()),
            _ => None,
        },
        _ => None,
    });
    // The first paragraph is the description; the rest is for readers of the source.
    lines.take_while(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
}
