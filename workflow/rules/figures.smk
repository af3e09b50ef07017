# The fits of a data set side by side, in pictures.


rule draw_fits:
    input:
        points=f"{RESULTS}/points/{{dataset}}.safetensors",
        mixtures=lambda wildcards: [
            f"{RESULTS}/mixtures/{wildcards.dataset}_{fit}.safetensors"
            for fit in settings_of.figure_of(config, wildcards.dataset)["fits"]
        ],
        src=sources("draw-fits"),
    output:
        still=report(
            f"{RESULTS}/figures/{{dataset}}_fits.png",
            caption="../report/fits.rst",
            category="Fits",
            labels={"data set": "{dataset}", "kind": "picture"},
        ),
        vector=f"{RESULTS}/figures/{{dataset}}_fits.svg",
        page=report(
            f"{RESULTS}/figures/{{dataset}}_fits.html",
            caption="../report/fits.rst",
            category="Fits",
            labels={"data set": "{dataset}", "kind": "to turn"},
        ),
    log:
        f"{RESULTS}/logs/draw-fits/{{dataset}}_fits.log",
    benchmark:
        f"{RESULTS}/benchmarks/draw-fits/{{dataset}}.tsv"
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
            f"{RESULTS}/figures/{{figure}}.png",
            caption="../report/figure.rst",
            category="Figures",
            labels={"figure": "{figure}"},
        ),
        vector=f"{RESULTS}/figures/{{figure}}.svg",
    log:
        f"{RESULTS}/logs/draw-figure/{{figure}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/draw-figure/{{figure}}.tsv"
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


rule all_figures:
    input:
        expand(f"{RESULTS}/figures/{{figure}}.png", figure=settings_of.ILLUSTRATIONS),
    output:
        touch(f"{RESULTS}/figures/all"),
    localrule: True
