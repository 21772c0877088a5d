# Asks the program itself, so that both are always of one version.
eval "$(dropsonde completions bash)"
