"""The page: one file a tab, all words in `text`, nothing imported from here by the layers below."""
