# The fits of a data set side by side, in pictures.


rule draw_fits:
    input:
        points=path("points"),
        mixtures=lambda wildcards: [
            path("mixtures", dataset=wildcards.dataset, fit=fit)
            for fit in settings_of.figure_of(config, wildcards.dataset)["fits"]
        ],
        src=sources("draw-fits"),
    output:
        still=report(
            path("fits") + ".png",
            caption="../report/fits.rst",
            category="Fits",
            labels={"data set": "{dataset}", "kind": "picture"},
        ),
        vector=path("fits") + ".svg",
        page=report(
            path("fits") + ".html",
            caption="../report/fits.rst",
            category="Fits",
            labels={"data set": "{dataset}", "kind": "to turn"},
        ),
    log:
        log_of("draw-fits"),
    benchmark:
        benchmark_of("draw-fits")
    conda:
        "../../envs/gmcn.yaml"
    threads: 1
    resources:
        mem_mb=growing(4000),
        runtime=growing(20),
    params:
        settings=settings("draw-fits"),
        folder=lambda wildcards, output: os.path.splitext(output.still)[0],
        options=options,
    message:
        "Drawing the fits of {wildcards.dataset}"
    shell:
        "python -m gmcn draw-fits --dataset {wildcards.dataset} --settings {params.settings:q}"
        " --points {input.points:q} --mixtures {input.mixtures:q} --output {params.folder:q}"
        " --threads {threads} {params.options} --log {log:q}"


rule draw_figure:
    input:
        unpack(network_of),
        src=sources("draw-figure"),
    output:
        still=report(
            path("figure") + ".png",
            caption="../report/figure.rst",
            category="Figures",
            labels={"figure": "{figure}"},
        ),
        vector=path("figure") + ".svg",
    log:
        log_of("draw-figure"),
    benchmark:
        benchmark_of("draw-figure")
    conda:
        "../../envs/gmcn.yaml"
    threads: 1
    resources:
        mem_mb=growing(4000),
        runtime=growing(20),
    params:
        settings=written(config.get("illustrations", {})),
        folder=lambda wildcards, output: os.path.splitext(output.still)[0],
        network=lambda wildcards, input: (
            f"--model {shlex.quote(input.model)} --mixtures {shlex.quote(input.mixtures)}"
            if "model" in input.keys()
            else ""
        ),
        options=options,
    message:
        "Drawing {wildcards.figure}"
    shell:
        "python -m gmcn draw-figure --name {wildcards.figure} --settings {params.settings:q} {params.network}"
        " --output {params.folder:q} --threads {threads} {params.options} --log {log:q}"


rule draw_layers:
    input:
        unpack(infinite_networks),
        points=lambda wildcards: path(
            "points", dataset=settings_of.measured_dataset(config)
        ),
        src=sources("draw-layers"),
    output:
        still=report(
            path("measured-figure") + ".png",
            caption="../report/figure.rst",
            category="Figures",
            labels={"figure": "{figure}"},
        ),
        vector=path("measured-figure") + ".svg",
        numbers=path("measured-figure") + ".json",
    log:
        log_of("draw-layers"),
    benchmark:
        benchmark_of("draw-layers")
    wildcard_constraints:
        figure="|".join(settings_of.MEASURED),
    conda:
        "../../envs/gmcn.yaml"
    threads: 1
    resources:
        mem_mb=growing(4000),
        runtime=growing(60),
    params:
        settings=written(config.get("gm_layers", {})),
        folder=lambda wildcards, output: os.path.splitext(output.still)[0],
        kernels=lambda wildcards, input: (
            f"--kernels {shlex.join(input.kernels)}"
            if "kernels" in input.keys()
            else ""
        ),
        options=options,
    message:
        "Drawing {wildcards.figure}"
    shell:
        "python -m gmcn draw-layers --name {wildcards.figure} --settings {params.settings:q} {params.kernels}"
        " --points {input.points:q} --output {params.folder:q} --threads {threads} {params.options} --log {log:q}"


rule draw_results:
    input:
        shown=lambda wildcards: list(compared_in(wildcards).values()),
        src=sources("draw-results"),
    output:
        still=report(
            path("compared-figure") + ".png",
            caption="../report/comparison.rst",
            category="Figures",
            labels={"figure": "{figure}"},
        ),
        vector=path("compared-figure") + ".svg",
        numbers=path("compared-figure") + ".json",
    log:
        log_of("draw-results"),
    benchmark:
        benchmark_of("draw-results")
    wildcard_constraints:
        figure=figures_of(clouds=False),
    conda:
        "../../envs/gmcn.yaml"
    threads: 1
    resources:
        mem_mb=growing(4000),
        runtime=growing(30),
    params:
        settings=lambda wildcards: written(
            settings_of.stage_settings(config, "draw-results", "", wildcards.figure)
        ),
        folder=lambda wildcards, output: os.path.splitext(output.still)[0],
        shown=lambda wildcards: shlex.join(
            f"{name}={file}" for name, file in compared_in(wildcards).items()
        ),
        options=options,
    message:
        "Drawing {wildcards.figure}"
    shell:
        "python -m gmcn draw-results --name {wildcards.figure} --settings {params.settings:q} --inputs {params.shown}"
        " --output {params.folder:q} --threads {threads} {params.options} --log {log:q}"


use rule draw_results as draw_clouds with:
    output:
        still=report(
            path("compared-figure") + ".png",
            caption="../report/comparison.rst",
            category="Figures",
            labels={"figure": "{figure}"},
        ),
        page=report(
            path("compared-figure") + ".html",
            caption="../report/comparison.rst",
            category="Figures",
            labels={"figure": "{figure}, to turn"},
        ),
        numbers=path("compared-figure") + ".json",
    wildcard_constraints:
        figure=figures_of(clouds=True),


rule all_figures:
    input:
        expand(path("figure") + ".png", figure=settings_of.ILLUSTRATIONS),
    output:
        touch(f"{RESULTS}/figures/all"),
    localrule: True
