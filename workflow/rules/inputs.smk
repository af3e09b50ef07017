# What rules read: source files, and artifacts that depend on the configuration.


def sources(stage):
    """A function that gives the files whose edit makes a stage run again, for the task, network and kind of data."""

    def of(wildcards):
        if "table" in wildcards.keys():
            tasks = tables_of.table_of(config, wildcards.table)["tasks"]
            return sorted(
                {f for task in tasks or [""] for f in source_files(stage, task=task)}
            )
        fields = {}
        if "dataset" in wildcards.keys():
            fields["kind"] = config["datasets"][wildcards.dataset]["kind"]
        if "fit" in wildcards.keys():
            by = fitted_by(wildcards)
            fields["task"] = by["task"] if by else ""
        if "variant" in wildcards.keys():
            own = resolved(wildcards)
            fields["network"] = settings_of.kind_of(own)
            fields["task"] = own.get("task", DEFAULT_TASK)
        return source_files(stage, **fields)

    return of


@functools.cache
def source_files(stage, **fields):
    """They are relative to the working directory where that is the project's."""
    root = Path(workflow.basedir)
    files = STAGES[stage].files(root, **fields)
    return [
        os.path.relpath(file) if root == Path.cwd() else str(file) for file in files
    ]


def downloads_of(wildcards):
    """The files of a data set: published ones, or all in the user's folder; built-in sets have none."""
    if "path" in (own := config["datasets"][wildcards.dataset]):
        root = Path(own["path"]).expanduser()
        found = (
            sorted(filter(os.path.exists, walk(root))) if root.is_dir() else [str(root)]
        )
        # Snakemake would take what is between braces for a wildcard.
        if braces := [file for file in found if re.search(r"{.*}", file)]:
            raise WorkflowError(
                f"{braces[0]} has braces in its name; rename it, or use `gmcn sample`"
            )
        return found
    files = own.get("files", [])
    return [
        path("download", dataset=wildcards.dataset, file=file["name"]) for file in files
    ]


def classifier_of(wildcards):
    """The network that is asked about a variant's samples, where there is one: a pretrained one, or a file."""
    name = resolved(wildcards).get("samples", {}).get("classifier")
    if name is None:
        return []
    if name != Path(name).stem:
        return name
    pretrained = Path(workflow.basedir, "gmcn/pretrained", name, "model.safetensors")
    return os.path.relpath(pretrained)


def input_of(wildcards):
    """The input of a variant's trainings: mixtures, or the points artifact itself."""
    return f"{RESULTS}/{input_path(wildcards.dataset, resolved(wildcards)['fit'])}"


def fitted_by(wildcards):
    """Variant, seed and task of the network by which a fit makes its mixtures; None of most fits."""
    try:
        return settings_of.network_of_fit(config, wildcards.dataset, wildcards.fit)
    except InputError as error:
        raise WorkflowError(str(error)) from None


def network_of_fit(wildcards):
    """The file of that network."""
    if (own := fitted_by(wildcards)) is None:
        return []
    return path("model", dataset=wildcards.dataset, **own)


def of_seeds(artifact):
    """A function that gives the artifact of every seed of a variant."""

    def files(wildcards):
        seeds = resolved(wildcards)["seeds"]
        return [path(artifact, seed=seed, **wildcards) for seed in seeds]

    return files


def measures_of(wildcards):
    """The measurements of a variant's networks besides the evaluation, by name."""
    names = settings_of.measured(resolved(wildcards))
    return {name: path(name, **wildcards) for name in names}


def other_points(wildcards):
    """The data set whose objects are outliers too; none where the variant names none."""
    named = resolved(wildcards).get("outliers")
    return path("points", dataset=named) if named else []


def voted_points(wildcards):
    """What is fitted anew, where a classifier votes on several fits of an object."""
    return path("points") if resolved(wildcards).get("votes") else []


def wanted_by(*tables):
    """All results that tables show, whether they exist or not."""
    files = {
        file
        for name in tables
        for file in tables_of.files_of(tables_of.table_of(config, name))
    }
    return sorted(f"{RESULTS}/{file}" for file in files)


def shown_in(wildcards):
    """Those of them that exist, and those that are asked for together with the table."""
    asked = set(map(os.path.relpath, workflow.dag_settings.targets))
    return [
        file
        for file in wanted_by(wildcards.table)
        if os.path.isfile(file) or os.path.relpath(file) in asked
    ]


def made_tables(wildcards):
    """Every table, as soon as all results are there."""
    checkpoints.all_results.get()
    return expand(path("table") + ".md", table=config["tables"])


def network_of(wildcards):
    """The trained network that a figure shows, and its mixtures; some show none."""
    if settings_of.ILLUSTRATIONS[wildcards.figure].shows == "nothing":
        return {}
    dataset, variant = config["illustrations"]["result"].split("_")
    own = settings_of.resolve(config, dataset, variant)
    model = path("model", dataset=dataset, variant=variant, seed=own["seeds"][0])
    return {
        "model": model,
        "mixtures": f"{RESULTS}/{input_path(dataset, own['fit'])}",
    }


def infinite_networks(wildcards):
    """The kernels that gmlayer-dynamics shows."""
    if wildcards.figure != "gmlayer-dynamics":
        return {}
    dataset = settings_of.measured_dataset(config)
    return {
        "kernels": [
            path("rival", dataset=dataset, rival=kernel) for kernel in ("nngp", "ntk")
        ]
    }


def figures_of(clouds):
    """A pattern of the names of figures of results: those of clouds, or the others."""
    named = settings_of.COMPARED.items()
    return "|".join(name for name, figure in named if figure.clouds == clouds)


def compared_in(wildcards):
    """What a figure of results shows, by name."""
    figure = settings_of.COMPARED[wildcards.figure]
    try:
        wanted = settings_of.compared(config, figure)
    except InputError as error:
        raise WorkflowError(str(error)) from None
    return {
        name: path(artifact, **fields) for name, (artifact, fields) in wanted.items()
    }
