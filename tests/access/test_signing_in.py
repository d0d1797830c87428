"""Who gets in, and with what."""

from town import Town, path_of


async def test_a_colleague_signs_in_and_lands_where_they_were_going(town: Town):
    async with town.visitor() as ada:
        response = await ada.sign_in("ada@acme.test", "/people")

        assert response.status_code == 200
        assert path_of(str(response.url)) == "/people"
        assert ada.session_id


async def test_a_page_without_a_session_leads_to_sign_in_and_back(town: Town):
    async with town.visitor() as stranger:
        response = await stranger.get("/people?q=zoe")

        assert response.status_code == 303
        assert response.headers["location"] == "/sign-in?next=%2Fpeople%3Fq%3Dzoe"
