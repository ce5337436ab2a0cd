defmodule Mix.Tasks.Compile.CremaNative do
  @shortdoc "Builds crema's native part"
  @moduledoc """
  Calls `make -C c_src`, which builds the driver into `priv/` and the constants that the Erlang
  side shares with it. Make knows what is up to date.
  """
  use Mix.Task.Compiler

  @impl true
  def run(_args) do
    before = outputs()

    case System.cmd(make(), ["--no-print-directory", "-C", "c_src"], into: IO.stream()) do
      {_, 0} ->
        # The first build makes priv/, and Mix has linked what there was before.
        Mix.Project.build_structure()
        {if(outputs() == before, do: :noop, else: :ok), []}

      {_, _} ->
        Mix.raise("crema's native part could not be built: its messages are above")
    end
  end

  @impl true
  def clean do
    System.cmd(make(), ["--no-print-directory", "-C", "c_src", "clean"])
    :ok
  end

  defp make do
    Enum.find(["gmake", "make"], &System.find_executable/1) ||
      Mix.raise("crema needs GNU make to build its native part: apt-get install make")
  end

  defp outputs do
    for file <- ["priv/crema_drv.so", "src/port/crema_commands.hrl"],
        {:ok, stat} <- [File.stat(file)],
        do: {file, stat.mtime, stat.size, stat.inode}
  end
end

defmodule Crema.MixProject do
  use Mix.Project

  # The one place where the version, the processes and so on are told, for rebar3 as for Mix.
  @app_file Path.join(__DIR__, "src/crema.app.src")
  @external_resource @app_file
  {:ok, [{:application, :crema, keys}]} = :file.consult(@app_file)
  @keys keys

  def project do
    [
      app: :crema,
      version: to_string(@keys[:vsn]),
      description: to_string(@keys[:description]),
      elixir: "~> 1.14",
      # rebar3 has _build/test for itself, and would take Mix's modules for its own.
      build_path: "_build/mix",
      compilers: [:crema_native | Mix.compilers()],
      erlc_paths: ["src"],
      erlc_options: [:debug_info],
      # Not for an application that builds crema with a newer compiler: that is in :prod.
      elixirc_options: [warnings_as_errors: Mix.env() != :prod],
      test_paths: ["test/elixir"],
      deps: [],
      package: package()
    ]
  end

  def application do
    applications = Keyword.get(@keys, :applications, []) -- [:kernel, :stdlib]

    @keys
    |> Keyword.take([:mod, :registered, :env, :included_applications])
    |> Keyword.put(:extra_applications, applications)
  end

  defp package do
    [
      licenses: ["Apache-2.0"],
      files: ~w(
        LICENSE README.md CHANGELOG.md .formatter.exs rebar.config mix.exs src lib
        c_src/Makefile c_src/config.sh c_src/core c_src/driver c_src/gen
        scripts/librdkafka scripts/lib
      )
    ]
  end
end
