use proc_macro2::TokenStream;
use quote::quote;
use syn::{Data, DeriveInput, Error, Fields};

pub(crate) fn expand(arguments: TokenStream, input: TokenStream) -> syn::Result<TokenStream> {
    if let Some(token) = arguments.into_iter().next() {
        return Err(Error::new(token.span(), "#[settings] takes no arguments"));
    }
    let item: DeriveInput = syn::parse2(input)?;
    if !matches!(&item.data, Data::Struct(data) if matches!(data.fields, Fields::Named(_))) {
        let text =
            "#[settings] goes on a struct with named fields: each is a key that the user can set";
        return Err(Error::new(item.ident.span(), text));
    }
    let name = &item.ident;
    let (impl_generics, type_generics, where_clause) = item.generics.split_for_impl();
    Ok(quote! {
        #[derive(Debug, Clone, ::dropsonde_plugin_api::private::serde::Deserialize)]
        #[serde(crate = "::dropsonde_plugin_api::private::serde", deny_unknown_fields)]
        #item

        impl #impl_generics ::dropsonde_plugin_api::Settings for #name #type_generics #where_clause {}
    })
}
