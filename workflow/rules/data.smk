# Published files and built-in data sets become points or images.


rule download:
    output:
        path("download"),
    log:
        log_of("download"),
    # No benchmark: Snakemake allows none beside a cache.
    cache: CACHE
    retries: 2
    localrule: True
    conda:
        "../../envs/gmcn.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=120,
    params:
        dataset="{dataset}",
        file="{file}",
        settings=settings("download"),
        options=options,
    message:
        "Downloading {wildcards.file} of {wildcards.dataset}"
    shell:
        "python -m gmcn download --dataset {params.dataset} --file {params.file:q}"
        " --settings {params.settings:q} {params.options} --log {log:q}"


rule sample:
    input:
        downloads=downloads_of,
        src=sources("sample"),
    output:
        path("points"),
    log:
        log_of("sample"),
    cache: CACHE
    conda:
        "../../envs/gmcn.yaml"
    threads: 8
    resources:
        mem_mb=growing(4000),
        runtime=growing(60),
    params:
        dataset="{dataset}",
        settings=settings("sample"),
        files=own_files,
        software=software,
        options=options,
    message:
        "Sampling {wildcards.dataset}"
    shell:
        "python -m gmcn sample --dataset {params.dataset} --settings {params.settings:q} --output {output:q}"
        " --threads {threads} {params.options} --log {log:q}"
