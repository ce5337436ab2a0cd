defmodule Crema.KaffePageTest do
  # The page about Kaffe: its examples run, one after another, and its tables are the code's.
  use ExUnit.Case, async: false

  alias Crema.Kaffe.Config
  alias Crema.KaffeSupport, as: Kaffe

  @page Path.expand("../../../docs/kaffe.md", __DIR__)

  test "what its examples produce is handled by those that consume" do
    topics = Map.new(~w(orders orders-dead menu), &{&1, 2})
    cluster = start_supervised!({Crema.Cluster, topics: topics})
    brokers = Crema.Cluster.bootstrap_servers(cluster)
    Crema.Printed.to_test()

    for [language, example] <- examples() do
      # On the embedded cluster a group that changes meanwhile takes long to agree.
      if example =~ "subscribe_to_topics",
        do: handled(["ada wants an espresso", "bob wants milk"])

      if language == "exs", do: Kaffe.configure(example, brokers), else: Kaffe.run(example)
    end

    handled(["joe pays for a ristretto"])
  end

  defp examples do
    pattern = ~r/^```(elixir|exs)\n(.*?)^```$/ms
    Regex.scan(pattern, File.read!(@page), capture: :all_but_first)
  end

  defp handled(lines) do
    for line <- lines, line = line <> "\n", do: assert_receive({:printed, ^line}, 20_000)
  end

  test "it has each option, and no other" do
    tables =
      for [table, whose] <-
            Regex.scan(
              ~r/^\| Option of (both|the producer|a consumer) \|.*?\n\n/ms,
              File.read!(@page)
            ),
          into: %{} do
        names =
          for [names] <- Regex.scan(~r/^\| (`.*?) \|/m, table, capture: :all_but_first), do: names

        {whose, names |> Enum.join() |> then(&Regex.scan(~r/\w+/, &1)) |> List.flatten()}
      end

    for {scope, whose} <- [producer: "the producer", consumer: "a consumer"] do
      assert Enum.sort(tables["both"] ++ tables[whose]) == Config.names(scope)
    end
  end
end
