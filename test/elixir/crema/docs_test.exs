defmodule Crema.DocsTest do
  # The options stand in one table, on the Erlang side. What is said of them here follows it.
  use ExUnit.Case, async: true

  for {module, scope} <- [
        {Crema.Producer, :producer},
        {Crema.Topic, :topic},
        {Crema.Consumer, :consumer},
        {Crema.Reader, :reader},
        {Crema.Cluster, :cluster},
        {Crema.Pool, :pool}
      ] do
    test "#{inspect(module)} tells of every option, and of no other" do
      items = items(unquote(module))
      known = names(unquote(scope))

      assert [] = Enum.filter(known, &(item(items, &1) == nil))
      told = for item <- items, [_, name] <- [Regex.run(~r/\A`:(\w+)`/, item)], do: name
      assert [] = Enum.map(told, &String.to_atom/1) -- [:args | known]
    end

    test "#{inspect(module)} tells the defaults right" do
      items = items(unquote(module))

      for %{name: name, default: default} <- rows(unquote(scope)), is_integer(default) do
        assert item(items, name) =~ ~r/`:#{name}` \(#{default}\b/
      end
    end
  end

  defp rows(scope), do: Enum.filter(:crema_options.table(), &(scope in &1.scope))

  defp names(scope), do: Enum.map(rows(scope), & &1.name)

  defp items(module) do
    {:docs_v1, _, _, _, %{"en" => doc}, _, _} = Code.fetch_docs(module)
    [_, list] = String.split(doc, "## Options", parts: 2)
    # 10_000 is 10000.
    list |> String.replace(~r/(?<=\d)_(?=\d)/, "") |> String.split(~r/^  \* /m) |> tl()
  end

  defp item(items, name), do: Enum.find(items, &(&1 =~ "`#{inspect(name)}`"))
end
